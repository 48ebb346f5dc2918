import { promisify } from "node:util";
import { brotliDecompress, gunzip, inflate, zstdDecompress } from "node:zlib";
import { env } from "#env";
import { AppError } from "../platform/errors.ts";
import type { Incoming } from "./exchange.ts";

/**
 * The body as text, decompressed as its Content-Encoding says. Throws `request_too_large` without keeping more than the
 * limit, which applies to the compressed and to the decompressed body; `bad_request` when the text is not UTF-8 or the
 * body cannot be decompressed, with status 415 for an unknown encoding (RFC 9110 §15.5.16).
 */
export async function readBody(incoming: Incoming): Promise<string> {
  const limit = env.QUOTA_MAX_BODY_BYTES;
  const sent = await incoming.read(limit);
  const bytes = sent === "too_large" ? sent : await decompressed(sent, encodingOf(incoming), limit);
  if (bytes === "too_large") {
    throw new AppError("request_too_large", { message: `The request body is larger than ${limit} bytes.` });
  }
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw new AppError("bad_request", { message: "The request body is not UTF-8 text.", cause });
  }
}

/** Whether the body is compressed, so that it may be many times as long as its Content-Length. */
export function isCompressed(incoming: Incoming): boolean {
  return encodingOf(incoming) !== "identity";
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

function encodingOf(incoming: Incoming): string {
  return incoming.header("content-encoding")?.trim().toLowerCase() || "identity";
}

type Decompress = (bytes: Uint8Array, options: { maxOutputLength: number }) => Promise<Buffer>;

/** These run in libuv's thread pool, off the event loop, and stop at `maxOutputLength`. */
const DECOMPRESS: Readonly<Record<string, Decompress>> = {
  gzip: promisify<Uint8Array, object, Buffer>(gunzip),
  "x-gzip": promisify<Uint8Array, object, Buffer>(gunzip),
  deflate: promisify<Uint8Array, object, Buffer>(inflate),
  br: promisify<Uint8Array, object, Buffer>(brotliDecompress),
  zstd: promisify<Uint8Array, object, Buffer>(zstdDecompress),
};

async function decompressed(bytes: Uint8Array, encoding: string, limit: number): Promise<Uint8Array | "too_large"> {
  if (encoding === "identity" || bytes.length === 0) return bytes;
  const decompress = Object.hasOwn(DECOMPRESS, encoding) ? DECOMPRESS[encoding] : undefined;
  if (decompress === undefined)
    throw new AppError("bad_request", {
      status: 415,
      param: "Content-Encoding",
      message: `This server does not know the Content-Encoding "${encoding.slice(0, 100)}".`,
      headers: { "accept-encoding": "gzip, deflate, br, zstd" },
    });
  try {
    return await decompress(bytes, { maxOutputLength: limit });
  } catch (cause) {
    if ((cause as { code?: unknown }).code === "ERR_BUFFER_TOO_LARGE") return "too_large";
    throw new AppError("bad_request", { param: "Content-Encoding", message: `The request body is not ${encoding}.`, cause });
  }
}
