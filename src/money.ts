/**
 * Money for people. A credit is a micro-dollar and every amount is a whole number
 * of credits, so nothing here ever becomes floating point.
 */
const CREDITS_PER_DOLLAR = 1_000_000n;
const CREDITS_PER_CENT = 10_000n;

/**
 * `$8.40`, and `<$0.01` for what is less than a cent and not nothing. What is less than the
 * next cent is left out: a balance must not look like more than it is, here or in an app
 * (`formatCredits` in packages/nextjs). What somebody owes is told exactly instead.
 */
export function dollars(credits: bigint): string {
  const size = credits < 0n ? -credits : credits;
  const sign = credits < 0n ? "−" : "";
  if (size > 0n && size < CREDITS_PER_CENT) return `${sign}<$0.01`;
  const cents = size / CREDITS_PER_CENT;
  return `${sign}$${grouped(cents / 100n)}.${String(cents % 100n).padStart(2, "0")}`;
}

/** `$0.00045`: every digit that is not a nought at the end, at least two after the point. */
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

/** Credits of what a person types for dollars: `5`, `$5.00`, `0,50`; null for what is no amount with at most two decimals. */
export function creditsOf(typed: string): bigint | null {
  const match = /^\$?\s*(\d{1,7})(?:[.,](\d{1,2}))?$/.exec(typed.trim());
  return match === null
    ? null
    : BigInt(match[1] as string) * CREDITS_PER_DOLLAR + BigInt((match[2] ?? "").padEnd(2, "0")) * CREDITS_PER_CENT;
}
