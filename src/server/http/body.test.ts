import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { env } from "#env";
import { readBody } from "./body.ts";
import { fromRequest } from "./exchange.ts";

function read(body: Uint8Array, encoding?: string): Promise<string> {
  const headers: Record<string, string> = encoding === undefined ? {} : { "content-encoding": encoding };
  return readBody(fromRequest(new Request("http://x/v1/a", { method: "POST", body: body as Uint8Array<ArrayBuffer>, headers })), "key");
}

const text = '{"content":"Grüße 🦊"}';

describe("readBody", () => {
  test.each([
    ["gzip", gzipSync],
    ["GZIP", gzipSync],
    ["x-gzip", gzipSync],
    ["deflate", deflateSync],
    ["br", brotliCompressSync],
    ["zstd", zstdCompressSync],
    ["identity", (bytes: Buffer) => bytes],
  ])("undoes the Content-Encoding %s", async (encoding, compress) => {
    expect(await read(compress(Buffer.from(text)), encoding)).toBe(text);
  });

  test("reads a body without Content-Encoding, or with an empty one, as it is", async () => {
    expect(await read(Buffer.from(text))).toBe(text);
    expect(await read(Buffer.from(text), "")).toBe(text);
  });

  test.each([
    ["gzip", gzipSync],
    ["deflate", deflateSync],
    ["br", brotliCompressSync],
    ["zstd", zstdCompressSync],
  ])("refuses %s that decompresses to more than the limit, however few bytes were sent", async (encoding, compress) => {
    const limit = env.QUOTA_MAX_BODY_BYTES;
    const compressed = compress(Buffer.alloc(limit + 1, "x"));
    expect(compressed.length).toBeLessThan(limit / 100);
    await expect(read(compressed, encoding)).rejects.toMatchObject({ code: "request_too_large" });
    expect(await read(compress(Buffer.alloc(limit, "x")), encoding)).toHaveLength(limit);
  });

  test("refuses a body that is not in its Content-Encoding with 400, and an unknown encoding with 415", async () => {
    for (const encoding of ["gzip", "deflate", "br", "zstd"])
      await expect(read(Buffer.from(text), encoding)).rejects.toMatchObject({
        code: "bad_request",
        status: 400,
        param: "Content-Encoding",
      });
    await expect(read(gzipSync(text).subarray(0, 20), "gzip")).rejects.toMatchObject({ code: "bad_request" });
    for (const encoding of ["compress", "gzip, gzip", "constructor"])
      await expect(read(Buffer.from(text), encoding)).rejects.toMatchObject({
        status: 415,
        headers: { "accept-encoding": expect.any(String) },
      });
  });
});
