import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { decompressed } from "./decompress.ts";

const LIMIT = 1024 * 1024;
/** A kilobyte that decompresses to the limit. */
const bomb = gzipSync(Buffer.alloc(LIMIT, "x"));
const plain = gzipSync("hello");

test("of a key's bodies that become large by decompression, those beyond a bound are refused, and another key's and small ones are read", async () => {
  const results = await Promise.allSettled([
    ...Array.from({ length: 100 }, () => decompressed(bomb, "gzip", LIMIT, "greedy")),
    decompressed(bomb, "gzip", LIMIT, "other"),
    decompressed(plain, "gzip", LIMIT, "greedy"),
  ]);
  const refused = results.slice(0, 100).filter((each) => each.status === "rejected");
  expect(refused.length).toBeGreaterThanOrEqual(100 - 34 - 32);
  for (const { reason } of refused) expect(reason).toMatchObject({ code: "overloaded", headers: { "retry-after": "1" } });
  expect(results.slice(100).map((each) => each.status)).toEqual(["fulfilled", "fulfilled"]);
});
