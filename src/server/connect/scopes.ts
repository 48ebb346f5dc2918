/** What an app can ask for. `openid` alone is signing in. */
export const SCOPES = ["openid", "profile", "email", "credits.read", "credits.spend"] as const;
export type Scope = (typeof SCOPES)[number];

/** Connect Wallet. */
export const DEFAULT_SCOPE = "credits.read credits.spend";

/** The scopes of a request that exist here, in our order; others are ignored (RFC 6749 §3.3). */
export function knownScopes(scope: unknown): Scope[] {
  const asked = new Set(typeof scope === "string" ? scope.split(" ") : []);
  return SCOPES.filter((each) => asked.has(each));
}
