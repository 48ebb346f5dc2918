import { exactDollars } from "#money";
import { classes } from "./classes.ts";
import { Money } from "./money.tsx";

/** What is left of a monthly limit, with a bar of what is spent. */
export function LimitBar({ limit, spent }: { limit: bigint; spent: bigint }) {
  const left = spent > limit ? 0n : limit - spent;
  const used = limit === 0n ? 100 : Number((spent * 1000n) / limit) / 10;
  return (
    <span className="inline-block min-w-28 text-right" title={`${exactDollars(spent)} of ${exactDollars(limit)} spent this month`}>
      <span className="block whitespace-nowrap leading-5">
        <Money credits={left} />{" "}
        <span className="text-soft">
          of <Money credits={limit} />
        </span>
      </span>
      <span className="mt-1 block h-1 overflow-hidden rounded-full bg-line" aria-hidden="true">
        <span className={classes("block h-full", used >= 90 ? "bg-warning" : "bg-accent")} style={{ width: `${Math.min(100, used)}%` }} />
      </span>
    </span>
  );
}
