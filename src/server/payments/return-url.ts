import { publicUrl } from "#env";

/**
 * The address that the browser goes to after a checkout, checked: an address of this server, or one
 * whose origin the app has registered. Null for any other, because a link to our checkout would
 * otherwise lead anywhere (open redirect).
 */
export function checkReturnUrl(asked: string, app: { redirectUris: readonly string[]; siteUrl: string | null } | null): string | null {
  const own = new URL(publicUrl()).origin;
  const url = asked.startsWith("/") ? URL.parse(asked, own) : URL.parse(asked);
  if (url === null || asked.length > 2_000 || url.username !== "" || url.password !== "") return null;
  if (url.protocol !== "https:" && url.protocol !== "http:") return null;
  if (url.origin === own) return url.href;
  const registered = app === null ? [] : [...app.redirectUris, ...(app.siteUrl === null ? [] : [app.siteUrl])];
  return registered.some((uri) => URL.parse(uri)?.origin === url.origin) ? url.href : null;
}

/** The return address with the checkout's outcome in `quota_checkout`. */
export function withOutcome(returnUrl: string, outcome: "paid" | "processing" | "cancelled"): string {
  const url = new URL(returnUrl);
  url.searchParams.set("quota_checkout", outcome);
  return url.href;
}
