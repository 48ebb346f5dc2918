import Link from "next/link";
import { segmentLook, segmentsLook } from "./segment-look.ts";

const names = { today: "Today", "7d": "7 days", "30d": "30 days", "90d": "90 days" } as const;
export type PeriodName = keyof typeof names;

/** Links to the same screen for other periods. `hrefOf` returns a period's address. */
export function PeriodLinks({ current, hrefOf }: { current: PeriodName; hrefOf: (period: PeriodName) => string }) {
  return (
    <nav aria-label="Period" className={segmentsLook}>
      {(Object.keys(names) as PeriodName[]).map((period) => (
        <Link
          key={period}
          href={hrefOf(period)}
          scroll={false}
          aria-current={period === current ? "true" : undefined}
          className={segmentLook(period === current)}
        >
          {names[period]}
        </Link>
      ))}
    </nav>
  );
}

/** A period's name within a sentence: `the last 30 days`. */
export function periodWords(period: PeriodName): string {
  return period === "today" ? "today" : `the last ${names[period]}`;
}
