import { promisify } from "node:util";
import { brotliDecompress, gunzip, inflate, zstdDecompress } from "node:zlib";
import { AppError } from "../platform/errors.ts";
import { BoundedQueue } from "./bounded-queue.ts";

type Decompress = (bytes: Uint8Array, options: { maxOutputLength: number }) => Promise<Buffer>;

/** These run in libuv's thread pool, off the event loop, and stop at `maxOutputLength`. */
const DECOMPRESS: Readonly<Record<string, Decompress>> = {
  gzip: promisify<Uint8Array, object, Buffer>(gunzip),
  "x-gzip": promisify<Uint8Array, object, Buffer>(gunzip),
  deflate: promisify<Uint8Array, object, Buffer>(inflate),
  br: promisify<Uint8Array, object, Buffer>(brotliDecompress),
  zstd: promisify<Uint8Array, object, Buffer>(zstdDecompress),
};

/**
 * Bodies of more than `SMALL_BYTES` wait here compressed, and two are decompressed at a time. Without a queue a client
 * could fill the memory with little traffic: ten kilobytes can decompress to QUOTA_MAX_BODY_BYTES.
 */
const largeBodies = new BoundedQueue({ atATime: 2, mostWaitingPerKey: 32, mostWaiting: 128 });
const SMALL_BYTES = 256 * 1024;

/** A body, decompressed; "too_large" when that has more than `limit` bytes. Throws as `readBody` says. */
export async function decompressed(
  bytes: Uint8Array,
  encoding: string,
  limit: number,
  queueKey: string,
): Promise<Uint8Array | "too_large"> {
  if (encoding === "identity" || bytes.length === 0) return bytes;
  const decompress = Object.hasOwn(DECOMPRESS, encoding) ? DECOMPRESS[encoding] : undefined;
  if (decompress === undefined)
    throw new AppError("bad_request", {
      status: 415,
      param: "Content-Encoding",
      message: `This server does not know the Content-Encoding "${encoding.slice(0, 100)}".`,
      headers: { "accept-encoding": "gzip, deflate, br, zstd" },
    });
  const upTo = async (maxOutputLength: number) => {
    try {
      return await decompress(bytes, { maxOutputLength });
    } catch (cause) {
      if ((cause as { code?: unknown }).code === "ERR_BUFFER_TOO_LARGE") return "too_large";
      throw new AppError("bad_request", { param: "Content-Encoding", message: `The request body is not ${encoding}.`, cause });
    }
  };
  const small = bytes.length > SMALL_BYTES ? "too_large" : await upTo(Math.min(limit, SMALL_BYTES));
  return small !== "too_large" || limit <= SMALL_BYTES ? small : largeBodies.run(queueKey, () => upTo(limit));
}
