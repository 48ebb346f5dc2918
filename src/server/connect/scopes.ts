/** The scopes that an app can ask for. `openid` alone is a sign-in. */
export const SCOPES = ["openid", "profile", "email", "credits.read", "credits.spend"] as const;
export type Scope = (typeof SCOPES)[number];

/** The scopes of Connect Wallet, for an authorization without `scope`. */
export const DEFAULT_SCOPE = "credits.read credits.spend";

/** The known scopes of a request, in the order of SCOPES; others are ignored (RFC 6749 §3.3). */
export function knownScopes(scope: unknown): Scope[] {
  const asked = new Set(typeof scope === "string" ? scope.split(" ") : []);
  return SCOPES.filter((each) => asked.has(each));
}
