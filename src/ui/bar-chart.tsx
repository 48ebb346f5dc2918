import { dollars, exactDollars, exactly } from "./amounts.ts";

type Day = { day: string; requests: number; spent: bigint; earned: bigint };

/**
 * Spend a day as bars, the developer's part of it in the accent colour. For those
 * who don't see it, the same figures are a table.
 */
export function BarChart({ days }: { days: Day[] }) {
  let highest = 0n;
  for (const day of days) if (day.spent > highest) highest = day.spent;
  const height = (credits: bigint) => (highest === 0n ? 0 : Number((credits * 10_000n) / highest) / 100);
  return (
    <figure>
      <div className="relative">
        <p className="absolute left-0 top-0 text-xs leading-4 text-soft tabular-nums" aria-hidden="true">
          {highest > 0n && (highest < 10_000n ? exactDollars(highest) : dollars(highest))}
        </p>
        <svg viewBox={`0 0 ${days.length * 10} 110`} preserveAspectRatio="none" className="h-44 w-full" aria-hidden="true">
          <line
            x1="0"
            x2={days.length * 10}
            y1="10"
            y2="10"
            className="stroke-line"
            strokeDasharray="3 3"
            vectorEffect="non-scaling-stroke"
          />
          {days.map((day, n) => {
            const spent = height(day.spent);
            // A part of a bar too small to draw would look like nothing at all.
            const top = day.spent > 0n ? Math.max(spent, 1) : 0;
            const earned = Math.min(height(day.earned), top);
            return (
              <g key={day.day} className="group">
                <title>{`${written(day.day)}: ${day.requests} requests, spent ${exactly(day.spent)}, earned ${exactly(day.earned)}`}</title>
                <rect x={n * 10} y="10" width="10" height="100" className="fill-transparent group-hover:fill-sunken" />
                <rect x={n * 10 + 1.5} y={110 - top} width="7" height={top} className="fill-line-strong/60" />
                <rect x={n * 10 + 1.5} y={110 - earned} width="7" height={earned} className="fill-accent" />
              </g>
            );
          })}
          <line x1="0" x2={days.length * 10} y1="110" y2="110" className="stroke-line-strong" vectorEffect="non-scaling-stroke" />
        </svg>
      </div>
      <div className="mt-1 flex justify-between text-xs text-soft" aria-hidden="true">
        <span>{written(days[0]?.day)}</span>
        <span>{written(days[Math.floor(days.length / 2)]?.day)}</span>
        <span>{written(days.at(-1)?.day)}</span>
      </div>
      <figcaption className="mt-3 flex flex-wrap gap-x-5 gap-y-1 text-sm text-soft" aria-hidden="true">
        <span className="flex items-center gap-2">
          <span className="size-2.5 rounded-xs bg-line-strong/60" /> Price of the models
        </span>
        <span className="flex items-center gap-2">
          <span className="size-2.5 rounded-xs bg-accent" /> Your markup
        </span>
      </figcaption>
      <table className="sr-only">
        <caption>Spend and earnings by day, UTC</caption>
        <thead>
          <tr>
            <th scope="col">Day</th>
            <th scope="col">Requests</th>
            <th scope="col">Spent</th>
            <th scope="col">Earned</th>
          </tr>
        </thead>
        <tbody>
          {days.map((day) => (
            <tr key={day.day}>
              <th scope="row">{written(day.day)}</th>
              <td>{day.requests}</td>
              <td>{exactDollars(day.spent)}</td>
              <td>{exactDollars(day.earned)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </figure>
  );
}

function written(day: string | undefined): string {
  if (day === undefined) return "";
  return new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" }).format(new Date(`${day}T00:00:00Z`));
}
