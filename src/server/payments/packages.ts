import { env } from "#env";

/** What can be bought at once. One dollar buys 1,000,000 credits. `cents` are US cents. */
export type Package = { id: string; cents: number; credits: bigint };

const CREDITS_PER_CENT = 10_000n;

export function creditsOfCents(cents: number): bigint {
  return BigInt(cents) * CREDITS_PER_CENT;
}

/** The packages, cheapest first. An id contains its price (`usd_10`, `usd_2.50`), so an id never changes its meaning. */
export function packages(): Package[] {
  return env.QUOTA_PACKAGES.toSorted((a, b) => a - b).map((cents) => ({
    id: `usd_${cents % 100 === 0 ? cents / 100 : (cents / 100).toFixed(2)}`,
    cents,
    credits: creditsOfCents(cents),
  }));
}

export function findPackage(id: string): Package | undefined {
  return packages().find((each) => each.id === id);
}
