import { env } from "#env";
import { AppError } from "../platform/errors.ts";

/** The body as text. Throws `request_too_large` before reading more than the limit, `bad_request` when it is not UTF-8. */
export async function readBody(request: Request): Promise<string> {
  const limit = env.QUOTA_MAX_BODY_BYTES;
  const length = request.headers.get("content-length");
  if (length !== null && Number(length) > limit) throw tooLarge(limit);
  try {
    // The HTTP parser holds a body to its content-length, so only one without needs counting.
    const bytes = length === null ? await readAtMost(request, limit) : new Uint8Array(await request.arrayBuffer());
    return utf8.decode(bytes);
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw new AppError("bad_request", { message: "The request body could not be read as UTF-8 text.", cause: error });
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

async function readAtMost(request: Request, limit: number): Promise<Uint8Array> {
  if (request.body === null) return new Uint8Array();
  const parts: Uint8Array[] = [];
  let size = 0;
  const reader = request.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return Buffer.concat(parts);
    size += value.length;
    if (size > limit) {
      await reader.cancel().catch(() => {});
      throw tooLarge(limit);
    }
    parts.push(value);
  }
}

function tooLarge(limit: number): AppError {
  return new AppError("request_too_large", { message: `The request body is larger than ${limit} bytes.`, headers: { connection: "close" } });
}
