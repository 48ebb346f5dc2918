const CREDITS_PER_DOLLAR = 1_000_000;

/** Credits as dollars with two decimals: `$8.40`; `<$0.01` for less than a cent and more than nothing. */
export function formatCredits(credits: number): string {
  if (credits > 0 && credits < CREDITS_PER_DOLLAR / 100) return "<$0.01";
  // Rounded down: a balance must not be shown as more than it is.
  const cents = Math.floor(credits / (CREDITS_PER_DOLLAR / 100));
  return `$${(cents / 100).toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
}

/** Credits as dollars with all digits: `$8.399954`. */
export function formatCreditsExactly(credits: number): string {
  const dollars = Math.floor(credits / CREDITS_PER_DOLLAR);
  return `$${dollars.toLocaleString("en-US")}.${String(credits % CREDITS_PER_DOLLAR).padStart(6, "0")}`;
}
