import { env } from "#env";
import { AppError } from "../platform/errors.ts";
import { decompressed } from "./decompress.ts";
import type { Incoming } from "./exchange.ts";

/**
 * The body as text, decompressed as its Content-Encoding says. Throws `request_too_large` without keeping more than the
 * limit, which applies to the compressed and to the decompressed body; `bad_request` when the text is not UTF-8 or the
 * body cannot be decompressed, with status 415 for an unknown encoding (RFC 9110 §15.5.16);
 * `overloaded` when too many bodies wait that become large by decompression. `queueKey`: the credential.
 */
export async function readBody(incoming: Incoming, queueKey: string): Promise<string> {
  const limit = env.QUOTA_MAX_BODY_BYTES;
  const sent = await incoming.read(limit);
  const bytes = sent === "too_large" ? sent : await decompressed(sent, encodingOf(incoming), limit, queueKey);
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
