import { publicUrl } from "#env";
import { fromRequest } from "./exchange.ts";

/**
 * Whether a form was sent by a page of ours: a second guard beside the form's token.
 * Such pages send no referrer, and then browsers name no origin for a form either, so
 * `null` says nothing.
 */
export function isOwnForm(request: Request): boolean {
  const site = request.headers.get("sec-fetch-site");
  const origin = request.headers.get("origin");
  if (site !== null && site !== "same-origin") return false;
  return origin === null || origin === "null" || origin === new URL(publicUrl()).origin;
}

/** What a form of ours sends; nothing when that can't be read, or is more than any of them has. */
export async function ownForm(request: Request): Promise<URLSearchParams> {
  const body = await fromRequest(request)
    .read(LARGEST_FORM_BYTES)
    .catch(() => "too_large" as const);
  return new URLSearchParams(body === "too_large" ? "" : Buffer.from(body).toString());
}

const LARGEST_FORM_BYTES = 64 * 1024;

/** Goes on after a form. 303 (RFC 9110 §15.4.4, RFC 9700 §4.12), or a browser could send the form on. */
export function seeOther(location: string): Response {
  return new Response(null, { status: 303, headers: { location, "cache-control": "no-store" } });
}
