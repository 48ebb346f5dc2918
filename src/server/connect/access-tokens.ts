import { hashSecret } from "../platform/secrets.ts";
import type { Sql } from "../platform/sql.ts";
import { knownScopes, type Scope } from "./scopes.ts";

/** The user that an access token acts for, and what it may do. */
export type TokenCaller = {
  userId: string;
  email: string;
  walletId: string;
  appId: string;
  appName: string;
  /** Scopes of the token; those for credits only if the link has them too. */
  scopes: Scope[];
  /** The link that pays; null when the app asked for no scope of credits. */
  linkedUserId: string | null;
  externalUserId: string | null;
  /** The user paused the link. */
  paused: boolean;
};

// What oidc-provider makes: 256 random bits in base64url.
const TOKEN = /^[0-9A-Za-z_-]{43}$/;

/** The hash that an access token is stored under, or null for text that has another form. */
export function tokenHash(token: string): Buffer<ArrayBuffer> | null {
  return TOKEN.test(token) ? hashSecret(token) : null;
}

/** The caller behind an access token; null when the token is unknown or expired, or its grant, link, user or app has ended. */
export async function verifyToken(sql: Sql, hash: Uint8Array): Promise<TokenCaller | null> {
  const [row] = await sql.query(verifyStatement, [hash]);
  if (row === undefined) return null;
  const token = knownScopes(row.token_scope);
  const agreed = row.linked_user_id === null ? null : knownScopes(row.link_scope);
  return {
    userId: String(row.user_id),
    email: String(row.email),
    walletId: String(row.wallet_id),
    appId: String(row.app_id),
    appName: String(row.app_name),
    scopes: token.filter((scope) => !scope.startsWith("credits.") || agreed?.includes(scope) === true),
    linkedUserId: row.linked_user_id === null ? null : String(row.linked_user_id),
    externalUserId: row.external_user_id === null ? null : String(row.external_user_id),
    paused: row.paused === true,
  };
}

const verifyStatement = {
  name: "connect_verify_token",
  text: `
    SELECT u.id AS user_id, u.email, u.wallet_id, a.id AS app_id, a.name AS app_name, t.payload->>'scope' AS token_scope,
      l.id AS linked_user_id, l.external_user_id, l.scope AS link_scope, l.paused_at IS NOT NULL AS paused
    FROM oauth_record t
    JOIN oauth_record g ON g.grant_id = t.grant_id AND g.kind = 'Grant' AND g.expires_at > now()
    JOIN "user" u ON u.id = (t.payload->>'accountId')::uuid AND u.deleted_at IS NULL
    JOIN app a ON a.client_id = t.payload->>'clientId' AND a.deleted_at IS NULL
    LEFT JOIN linked_user l ON l.id = g.linked_user_id
    WHERE t.kind = 'AccessToken' AND t.id_hash = $1::bytea AND t.expires_at > now() AND (g.linked_user_id IS NULL OR l.id IS NOT NULL)`,
};
