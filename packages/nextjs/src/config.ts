import { QuotaClient } from "@usequota/core";
import type { NextRequest } from "next/server.js";

/** How the app is set up at Quota. What is left out comes from the environment. */
export interface QuotaConfig {
  /** `quota_client_…`; `QUOTA_CLIENT_ID`. */
  clientId?: string | undefined;
  /** `quota_secret_…`; `QUOTA_CLIENT_SECRET`. */
  clientSecret?: string | undefined;
  /** `sk-quota-…`, a key of the same app, to look up and bill linked users; `QUOTA_API_KEY`. */
  apiKey?: string | undefined;
  /** Where Quota is, as browsers reach it; `QUOTA_API_URL`, or Quota's own address. */
  baseUrl?: string | undefined;
  /** Where your server reaches Quota, when that is another address, such as `http://quota:3000` between containers; `QUOTA_SERVER_URL`, or `baseUrl`. */
  serverUrl?: string | undefined;
  /** Signs the cookies; `QUOTA_COOKIE_SECRET`, or the client secret. */
  cookieSecret?: string | undefined;
}

/** What the middleware and the route handlers need to know. */
export interface QuotaAuthConfig extends QuotaConfig {
  /** Quota keeps the tokens, and your app names people by their external user id. */
  storageMode?: "hosted" | undefined;
  /**
   * Your own id for the person who sent this request, from your own session; null or
   * undefined when nobody is signed in, and so does throwing. It alone says whose wallet pays, whatever the
   * `external_user_id` cookie says. Without it, people are known by that cookie, under
   * an id that Quota makes up.
   */
  getExternalUserId?: ((request: NextRequest) => ExternalId | Promise<ExternalId>) | undefined;
  /**
   * Where the endpoints are in your app; register `{your app}{basePath}/callback` as redirect URI. `/api/quota`.
   * Next's own `basePath`, when it has one, comes before it by itself.
   */
  basePath?: string | undefined;
  /** Your app's own address, such as `https://acme.chat`, where requests do not tell it; `QUOTA_APP_URL`. */
  appUrl?: string | undefined;
  /** Where people go when they want to connect and are not signed in to your app, a path as in `<Link>`; `?return_to=` comes on top. `/`. */
  signInPath?: string | undefined;
}

type ExternalId = string | null | undefined;

/** The person behind a request, and their wallet. Amounts are credits; 1,000,000 are one dollar. */
export interface QuotaUser {
  /** Your id for them. */
  externalUserId: string;
  /** Quota's id for them. */
  id: string;
  email: string;
  balance: number;
  /** What they let your app spend in a month, when they set a limit. */
  limit?: number | undefined;
  /** What of the limit is spent this month. */
  spent?: number | undefined;
  /** ISO 8601, UTC. */
  linkedAt: string;
}

/** @internal */
export const EXTERNAL_USER_ID = "external_user_id";
/** @internal */
export const BASE_PATH = "/api/quota";

/** @internal The OAuth client, whose secret also signs cookies unless another is named. Read at request time: a build has no secrets. */
export function credentialsOf(config: QuotaConfig): { clientId: string; clientSecret: string; cookieSecret: string } {
  const clientId = config.clientId || process.env.QUOTA_CLIENT_ID;
  const clientSecret = config.clientSecret || process.env.QUOTA_CLIENT_SECRET;
  if (!clientId || !clientSecret) throw new Error("Quota needs clientId and clientSecret: set QUOTA_CLIENT_ID and QUOTA_CLIENT_SECRET.");
  return { clientId, clientSecret, cookieSecret: config.cookieSecret || process.env.QUOTA_COOKIE_SECRET || clientSecret };
}

/** @internal A client with the app's API key. */
export function apiClient(config: QuotaConfig, externalUserId?: string): QuotaClient {
  const apiKey = config.apiKey || process.env.QUOTA_API_KEY;
  if (!apiKey) throw new Error("Quota needs an API key of the same app to look up linked users: set QUOTA_API_KEY.");
  return new QuotaClient({ apiKey, ...addressesOf(config), externalUserId });
}

/** @internal A client with the app's OAuth client, for exchanging codes. */
export function oauthClient(config: QuotaConfig): QuotaClient {
  const { clientId, clientSecret } = credentialsOf(config);
  return new QuotaClient({ clientId, clientSecret, ...addressesOf(config) });
}

function addressesOf(config: QuotaConfig): { baseUrl: string | undefined; serverUrl: string | undefined } {
  return { baseUrl: config.baseUrl || process.env.QUOTA_API_URL, serverUrl: config.serverUrl || process.env.QUOTA_SERVER_URL };
}
