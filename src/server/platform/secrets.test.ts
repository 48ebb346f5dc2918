import * as crypto from "node:crypto";
import { expect, test, vi } from "vitest";
import { hashSecret, mintSecret, secretMatches } from "./secrets.ts";

vi.mock("node:crypto", async (original) => {
  const real = await original<typeof crypto>();
  return { ...real, timingSafeEqual: vi.fn(real.timingSafeEqual) };
});

test("a secret is compared in constant time, and matches its own hash only", () => {
  const { secret, hash } = mintSecret("quota_secret_");
  const compare = vi.mocked(crypto.timingSafeEqual);
  for (const [given, matches] of [
    [secret, true],
    [`${secret.slice(0, -1)}-`, false],
    ["", false],
  ] as const) {
    compare.mockClear();
    expect(secretMatches(given, hash)).toBe(matches);
    expect(compare).toHaveBeenCalledExactlyOnceWith(hashSecret(given), hash);
  }
});
