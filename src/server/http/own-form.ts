import { publicUrl } from "#env";
import { fromRequest } from "./exchange.ts";

/**
 * Whether a form was sent by a page of this server, by Sec-Fetch-Site and Origin: a check against forgery besides the
 * form's token. Browsers send `Origin: null` from pages with `Referrer-Policy: no-referrer` (Fetch standard, "append a
 * request Origin header"), which these pages have, so `null` is accepted.
 */
export function isOwnForm(request: Request): boolean {
  const site = request.headers.get("sec-fetch-site");
  const origin = request.headers.get("origin");
  if (site !== null && site !== "same-origin") return false;
  return origin === null || origin === "null" || origin === new URL(publicUrl()).origin;
}

/** The fields of a form; none when the body cannot be read or exceeds LARGEST_FORM_BYTES. */
export async function ownForm(request: Request): Promise<URLSearchParams> {
  const body = await fromRequest(request)
    .read(LARGEST_FORM_BYTES)
    .catch(() => "too_large" as const);
  return new URLSearchParams(body === "too_large" ? "" : Buffer.from(body).toString());
}

const LARGEST_FORM_BYTES = 64 * 1024;

/** The redirect after a form: 303 (RFC 9110 §15.4.4), because with 307 a browser would send the form to the target (RFC 9700 §4.12). */
export function seeOther(location: string): Response {
  return new Response(null, { status: 303, headers: { location, "cache-control": "no-store" } });
}
