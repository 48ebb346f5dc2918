import { QuotaClient } from "@usequota/core";
import type { NextRequest } from "next/server.js";

/** The app's settings at Quota. Defaults are environment variables, named with each. */
export interface QuotaConfig {
  /** `quota_client_…`; `QUOTA_CLIENT_ID`. */
  clientId?: string | undefined;
  /** `quota_secret_…`; `QUOTA_CLIENT_SECRET`. */
  clientSecret?: string | undefined;
  /** `sk-quota-…`, an API key of the same app, to look up and bill linked users; `QUOTA_API_KEY`. */
  apiKey?: string | undefined;
  /** Quota's address as browsers reach it; `QUOTA_API_URL`, or Quota's own address. */
  baseUrl?: string | undefined;
  /** Quota's address as your server reaches it, when that differs, such as `http://quota:3000` between containers; `QUOTA_SERVER_URL`, or `baseUrl`. */
  serverUrl?: string | undefined;
  /** The key that signs cookies; `QUOTA_COOKIE_SECRET`, or the client secret. */
  cookieSecret?: string | undefined;
}

/** Settings of the middleware and the route handlers. */
export interface QuotaAuthConfig extends QuotaConfig {
  /** Quota keeps the tokens, and your app names users by their external user id. */
  storageMode?: "hosted" | undefined;
  /**
   * Your app's id for the user who sent this request, from your own session; null or undefined when no user
   * is signed in. An error that it throws counts as no user. This id alone decides whose wallet pays,
   * whatever the `external_user_id` cookie says. Without this function the signed cookie decides, with
   * an id that Quota makes.
   */
  getExternalUserId?: ((request: NextRequest) => ExternalId | Promise<ExternalId>) | undefined;
  /**
   * The path of the endpoints in your app, without Next's own `basePath`. The default is `/api/quota`.
   * Register `{your app}{basePath}/callback` as redirect URI, with Next's `basePath` when it has one.
   */
  basePath?: string | undefined;
  /** Your app's address, such as `https://acme.chat`, when it differs from the requests' Host; `QUOTA_APP_URL`. */
  appUrl?: string | undefined;
  /** Where a visitor who is not signed in to your app goes to connect, a path as in `<Link>`; gets `?return_to=`. The default is `/`. */
  signInPath?: string | undefined;
}

type ExternalId = string | null | undefined;

/** The user of a request, and their wallet. Amounts are credits; 1,000,000 are one dollar. */
export interface QuotaUser {
  /** Your app's id for the user. */
  externalUserId: string;
  /** Quota's id for the user. */
  id: string;
  email: string;
  balance: number;
  /** Credits that the user lets your app spend in a month; absent without a limit. */
  limit?: number | undefined;
  /** Credits of the limit that were spent this month. */
  spent?: number | undefined;
  /** ISO 8601, UTC. */
  linkedAt: string;
}

/** @internal */
export const EXTERNAL_USER_ID = "external_user_id";
/** @internal */
export const BASE_PATH = "/api/quota";

/** @internal The OAuth client, whose secret also signs cookies by default. Read for each request, because a build has no secrets. */
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
