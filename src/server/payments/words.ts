/** Money in mails and in descriptions: `$10.00`. */
export function dollars(credits: bigint): string {
  const cents = (credits + 5_000n) / 10_000n;
  if (credits > 0n && cents === 0n) return "<$0.01";
  return `$${String(cents / 100n).replace(/\B(?=(\d{3})+$)/g, ",")}.${String(cents % 100n).padStart(2, "0")}`;
}
