import { promisify } from "node:util";
import { brotliDecompress, gunzip, inflate, zstdDecompress } from "node:zlib";
import { env } from "#env";
import { AppError } from "../platform/errors.ts";
import type { Incoming } from "./exchange.ts";

/**
 * The body as text, with its Content-Encoding undone. Throws `request_too_large` without keeping more than the limit,
 * which counts what was sent and what it unpacks to; `bad_request` when it is not UTF-8, or not what its encoding
 * says (RFC 9110 §15.5.16: 415 for an encoding that this server does not know).
 */
export async function readBody(incoming: Incoming): Promise<string> {
  const limit = env.QUOTA_MAX_BODY_BYTES;
  const sent = await incoming.read(limit);
  const bytes = sent === "too_large" ? sent : await unpacked(sent, encodingOf(incoming), limit);
  if (bytes === "too_large") {
    throw new AppError("request_too_large", { message: `The request body is larger than ${limit} bytes.` });
  }
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw new AppError("bad_request", { message: "The request body is not UTF-8 text.", cause });
  }
}

/** Whether the body may be many times as long as was sent. */
export function isPacked(incoming: Incoming): boolean {
  return encodingOf(incoming) !== "identity";
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

function encodingOf(incoming: Incoming): string {
  return incoming.header("content-encoding")?.trim().toLowerCase() || "identity";
}

type Unpack = (bytes: Uint8Array, options: { maxOutputLength: number }) => Promise<Buffer>;

/** They work in a thread of Node's pool, and stop at the limit. */
const UNPACK: Readonly<Record<string, Unpack>> = {
  gzip: promisify<Uint8Array, object, Buffer>(gunzip),
  "x-gzip": promisify<Uint8Array, object, Buffer>(gunzip),
  deflate: promisify<Uint8Array, object, Buffer>(inflate),
  br: promisify<Uint8Array, object, Buffer>(brotliDecompress),
  zstd: promisify<Uint8Array, object, Buffer>(zstdDecompress),
};

async function unpacked(bytes: Uint8Array, encoding: string, limit: number): Promise<Uint8Array | "too_large"> {
  if (encoding === "identity" || bytes.length === 0) return bytes;
  const unpack = Object.hasOwn(UNPACK, encoding) ? UNPACK[encoding] : undefined;
  if (unpack === undefined)
    throw new AppError("bad_request", {
      status: 415,
      param: "Content-Encoding",
      message: `This server does not know the Content-Encoding "${encoding.slice(0, 100)}".`,
      headers: { "accept-encoding": "gzip, deflate, br, zstd" },
    });
  try {
    return await unpack(bytes, { maxOutputLength: limit });
  } catch (cause) {
    if ((cause as { code?: unknown }).code === "ERR_BUFFER_TOO_LARGE") return "too_large";
    throw new AppError("bad_request", { param: "Content-Encoding", message: `The request body is not ${encoding}.`, cause });
  }
}
