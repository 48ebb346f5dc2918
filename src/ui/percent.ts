/** A markup is stored in basis points (1/100 of a percent), and typed and shown in percent. */

/** Basis points as percent: `12.5` for 1250. */
export function percentOf(bps: number): string {
  return String(bps / 100);
}

/** Percent as basis points: 1250 for `12.5` or `12,5`; null for text that is no percentage with at most two decimals. */
export function bpsOf(percent: string): number | null {
  const match = /^(\d{1,6})(?:[.,](\d{1,2}))?$/.exec(percent.trim());
  return match === null ? null : Number(match[1]) * 100 + Number((match[2] ?? "").padEnd(2, "0"));
}
