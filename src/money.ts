/**
 * Amounts for display. A credit is a micro-dollar and every amount is a whole number of
 * credits, so no function here uses floating point.
 */
const CREDITS_PER_DOLLAR = 1_000_000n;
const CREDITS_PER_CENT = 10_000n;

/**
 * Dollars with two decimals, rounded towards zero: `$8.40`; `<$0.01` for less than a cent and more than
 * nothing. A balance must not be shown as more than it is, here or in an app (`formatCredits` in
 * packages/nextjs). Debts are shown with `exactDollars` instead.
 */
export function dollars(credits: bigint): string {
  const size = credits < 0n ? -credits : credits;
  const sign = credits < 0n ? "−" : "";
  if (size > 0n && size < CREDITS_PER_CENT) return `${sign}<$0.01`;
  const cents = size / CREDITS_PER_CENT;
  return `${sign}$${grouped(cents / 100n)}.${String(cents % 100n).padStart(2, "0")}`;
}

/** Dollars with all digits up to the last that is not zero, at least two after the point: `$0.00045`. */
export function exactDollars(credits: bigint): string {
  const size = credits < 0n ? -credits : credits;
  const fraction = String(size % CREDITS_PER_DOLLAR)
    .padStart(6, "0")
    .replace(/0{1,4}$/, "");
  return `${credits < 0n ? "−" : ""}$${grouped(size / CREDITS_PER_DOLLAR)}.${fraction}`;
}

/** Credits and exact dollars: `450 credits = $0.00045`. */
export function exactly(credits: bigint): string {
  return `${inCredits(credits)} = ${exactDollars(credits)}`;
}

export function inCredits(credits: bigint): string {
  const size = credits < 0n ? -credits : credits;
  return `${credits < 0n ? "−" : ""}${grouped(size)} ${size === 1n ? "credit" : "credits"}`;
}

/** A whole number with commas between thousands: `1,234,567`. The interface is in English, so the locale does not matter. */
export function grouped(number: bigint | number): string {
  return String(number).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** Parses dollars that a user typed (`5`, `$5.00`, `0,50`) into credits; null when the text is no amount with at most two decimals. */
export function creditsOf(typed: string): bigint | null {
  const match = /^\$?\s*(\d{1,7})(?:[.,](\d{1,2}))?$/.exec(typed.trim());
  return match === null
    ? null
    : BigInt(match[1] as string) * CREDITS_PER_DOLLAR + BigInt((match[2] ?? "").padEnd(2, "0")) * CREDITS_PER_CENT;
}
