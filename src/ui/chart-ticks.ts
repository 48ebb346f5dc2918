import { grouped } from "#money";

/**
 * The values of a chart's axis lines: from zero in two to four equal steps of 1, 2 or 5 times a
 * power of ten, up to the first that is at least `most`. All are whole numbers.
 */
export function ticksUpTo(most: number): number[] {
  let step = 1;
  for (let next = 0; most > 4 * step; next++) step *= next % 3 === 1 ? 2.5 : 2;
  const count = Math.max(1, Math.ceil(most / step));
  return Array.from({ length: count + 1 }, (_, n) => n * step);
}

/** The label of a line: `1.5K`. */
export function countLabel(value: number): string {
  return new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 2 }).format(value);
}

/** The label of a line in credits: `$0.05`, with the digits that a step needs to be exact. */
export function dollarLabel(credits: number, step: number): string {
  if (credits === 0) return "$0";
  const dollars = credits / 1_000_000;
  if (step >= 1_000_000_000) return `$${countLabel(dollars)}`;
  if (step >= 1_000_000) return `$${grouped(dollars)}`;
  const [whole = "", fraction] = dollars.toFixed(Math.max(2, 6 - Math.floor(Math.log10(step)))).split(".");
  return `$${grouped(Number(whole))}.${fraction}`;
}
