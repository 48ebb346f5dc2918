import { env } from "#env";
import { AppError } from "../platform/errors.ts";
import type { Incoming } from "./exchange.ts";

/** The body as text. Throws `request_too_large` without keeping more than the limit, `bad_request` when it is not UTF-8. */
export async function readBody(incoming: Incoming): Promise<string> {
  const limit = env.QUOTA_MAX_BODY_BYTES;
  const bytes = await incoming.read(limit);
  if (bytes === "too_large") {
    throw new AppError("request_too_large", { message: `The request body is larger than ${limit} bytes.` });
  }
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw new AppError("bad_request", { message: "The request body is not UTF-8 text.", cause });
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true });
