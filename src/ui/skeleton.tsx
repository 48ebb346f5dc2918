import { classes } from "./classes.ts";

export function Skeleton({ className }: { className?: string }) {
  return <div className={classes("animate-pulse rounded-md bg-sunken motion-reduce:animate-none", className)} />;
}

/** A placeholder until a page's content has loaded. */
export function Loading({ rows = 6, figures = 0 }: { rows?: number; figures?: number }) {
  return (
    <div role="status">
      <span className="sr-only">Loading</span>
      {figures > 0 && (
        <div className="mb-6 grid grid-cols-2 gap-4 lg:grid-cols-4">
          {places(figures).map((place) => (
            <Skeleton key={place} className="h-24" />
          ))}
        </div>
      )}
      <div className="space-y-2">
        {places(rows).map((place) => (
          <Skeleton key={place} className="h-11" />
        ))}
      </div>
    </div>
  );
}

function places(count: number): number[] {
  return Array.from({ length: count }, (_, place) => place);
}
