/** The median as a measured value: of an even number, the upper of the middle two. */
export function median(list: readonly number[]): number {
  return quantile(list, 0.5);
}

export function quantile(list: readonly number[], part: number): number {
  const sorted = [...list].sort((a, b) => a - b);
  return sorted[Math.min(Math.floor(sorted.length * part), sorted.length - 1)] ?? Number.NaN;
}

/** `1.95 [1.80 to 2.10]` */
export function spread(list: readonly number[], digits = 2): string {
  return `${median(list).toFixed(digits)} [${Math.min(...list).toFixed(digits)} to ${Math.max(...list).toFixed(digits)}]`;
}

/** The median in milliseconds; `unknown` when any value is missing. */
export function milliseconds(list: readonly (number | null)[]): string {
  return list.some((each) => each === null) ? "unknown" : `${median(list as number[]).toFixed(3)} ms`;
}
