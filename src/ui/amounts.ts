/**
 * Money for people. A credit is a micro-dollar and every amount is a whole number
 * of credits, so nothing here ever becomes floating point.
 */
const CREDITS_PER_DOLLAR = 1_000_000n;
const CREDITS_PER_CENT = 10_000n;

/** `$8.40`, to the nearest cent; `<$0.01` when that would hide that there is something. */
export function dollars(credits: bigint): string {
  const size = credits < 0n ? -credits : credits;
  const sign = credits < 0n ? "−" : "";
  if (size > 0n && size < CREDITS_PER_CENT) return `${sign}<$0.01`;
  const cents = (size + CREDITS_PER_CENT / 2n) / CREDITS_PER_CENT;
  return `${sign}$${grouped(cents / 100n)}.${String(cents % 100n).padStart(2, "0")}`;
}

/** `$0.00045`: every digit, at least two after the point. */
export function exactDollars(credits: bigint): string {
  const size = credits < 0n ? -credits : credits;
  const fraction = String(size % CREDITS_PER_DOLLAR)
    .padStart(6, "0")
    .replace(/0{1,4}$/, "");
  return `${credits < 0n ? "−" : ""}$${grouped(size / CREDITS_PER_DOLLAR)}.${fraction}`;
}

/** `450 credits = $0.00045`, for whoever wants to know exactly. */
export function exactly(credits: bigint): string {
  return `${inCredits(credits)} = ${exactDollars(credits)}`;
}

export function inCredits(credits: bigint): string {
  const size = credits < 0n ? -credits : credits;
  return `${credits < 0n ? "−" : ""}${grouped(size)} ${size === 1n ? "credit" : "credits"}`;
}

/** `1,234,567`, the same in every locale, as the rest of the interface is. */
export function grouped(number: bigint | number): string {
  return String(number).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** The credits of a typed amount of dollars, such as `5`, `$5.00` or `0,5`; null for what is none or is finer than a credit. */
export function creditsOf(typed: string): bigint | null {
  const match = /^\$?\s*(\d{1,9})(?:[.,](\d{1,6}))?$/.exec(typed.trim());
  return match === null ? null : BigInt(`${match[1]}${(match[2] ?? "").padEnd(6, "0")}`);
}
