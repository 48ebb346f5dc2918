import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { env } from "#env";
import { readBody } from "./body.ts";
import { fromRequest } from "./exchange.ts";

function read(body: Uint8Array, encoding?: string): Promise<string> {
  const headers: Record<string, string> = encoding === undefined ? {} : { "content-encoding": encoding };
  return readBody(fromRequest(new Request("http://x/v1/a", { method: "POST", body: body as Uint8Array<ArrayBuffer>, headers })));
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
  ])("undoes the Content-Encoding %s", async (encoding, pack) => {
    expect(await read(pack(Buffer.from(text)), encoding)).toBe(text);
  });

  test("an absent encoding, and an empty one, mean none", async () => {
    expect(await read(Buffer.from(text))).toBe(text);
    expect(await read(Buffer.from(text), "")).toBe(text);
  });

  test.each([
    ["gzip", gzipSync],
    ["deflate", deflateSync],
    ["br", brotliCompressSync],
    ["zstd", zstdCompressSync],
  ])("%s that unpacks to more than a body may have is too large, however little was sent", async (encoding, pack) => {
    const limit = env.QUOTA_MAX_BODY_BYTES;
    const packed = pack(Buffer.alloc(limit + 1, "x"));
    expect(packed.length).toBeLessThan(limit / 100);
    await expect(read(packed, encoding)).rejects.toMatchObject({ code: "request_too_large" });
    expect(await read(pack(Buffer.alloc(limit, "x")), encoding)).toHaveLength(limit);
  });

  test("what is not what its encoding says is a bad request, and an encoding that nobody knows is 415", async () => {
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
