import { grouped } from "#money";

/**
 * Where the axis of a chart has its lines: from zero in two to four equal steps of 1, 2
 * or 5 times a power of ten, to the first that reaches `most`. All are whole numbers.
 */
export function ticksUpTo(most: number): number[] {
  let step = 1;
  for (let next = 0; most > 4 * step; next++) step *= next % 3 === 1 ? 2.5 : 2;
  const count = Math.max(1, Math.ceil(most / step));
  return Array.from({ length: count + 1 }, (_, n) => n * step);
}

/** What is written at the lines: `1.5K`. */
export function countLabel(value: number): string {
  return new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 2 }).format(value);
}

/** The same for credits: `$0.05`, at each of them with the digits that it takes to tell a step exactly. */
export function dollarLabel(credits: number, step: number): string {
  if (credits === 0) return "$0";
  const dollars = credits / 1_000_000;
  if (step >= 1_000_000_000) return `$${countLabel(dollars)}`;
  if (step >= 1_000_000) return `$${grouped(dollars)}`;
  const [whole = "", fraction] = dollars.toFixed(Math.max(2, 6 - Math.floor(Math.log10(step)))).split(".");
  return `$${grouped(Number(whole))}.${fraction}`;
}
