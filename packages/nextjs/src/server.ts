import type { QuotaClient } from "@usequota/core";
import { browserPath, nextBasePath } from "./base-path.ts";
import { apiClient, BASE_PATH, EXTERNAL_USER_ID, type QuotaConfig, type QuotaUser } from "./config.ts";
import { open } from "./cookies.ts";
import { findUser, signerOf } from "./endpoints.ts";

/** Options that name the user, when the cookie shall not. */
export interface QuotaUserOptions extends QuotaConfig {
  /** Your app's id for the user, from your own session; null or undefined for no user. Without this option the signed `external_user_id` cookie names the user. */
  externalUserId?: string | null | undefined;
}

/**
 * The user of this request and their wallet; null when no wallet is connected. For Server
 * Components, Server Actions and route handlers. Waits for a request, so Next neither prerenders nor
 * caches it: with `cacheComponents`, call it within `<Suspense>`.
 *
 * Throws what `QuotaClient.getUser` throws, except for a user who is not linked.
 */
export async function getQuotaUser(options: QuotaUserOptions = {}): Promise<QuotaUser | null> {
  await waitForRequest();
  const externalUserId = await namedUserId(options);
  return externalUserId === null ? null : findUser(options, externalUserId);
}

/**
 * Like `getQuotaUser`; without a connected wallet redirects to connecting one, and then back to
 * `returnTo`, a path of your app as in `<Link>`. For Server Components and Server Actions.
 */
export async function requireQuotaUser(options: QuotaUserOptions & { returnTo?: string; basePath?: string } = {}): Promise<QuotaUser> {
  const user = await getQuotaUser(options);
  if (user !== null) return user;
  const { redirect } = await import("next/navigation.js");
  // Next's redirect adds `basePath` to the path, and not to the query.
  return redirect(`${options.basePath ?? BASE_PATH}/authorize?return_to=${encodeURIComponent(browserPath(options.returnTo ?? "/"))}`);
}

/**
 * A client whose requests are billed to the user of this request: it sends their id as
 * `X-Quota-User`. null without a user, so that no other wallet pays by mistake.
 */
export async function getQuotaClient(options: QuotaUserOptions = {}): Promise<QuotaClient | null> {
  const externalUserId = await namedUserId(options);
  return externalUserId === null ? null : apiClient(options, externalUserId);
}

/** Deletes the user's cookie in this browser; the link stays. For Server Actions and route handlers, which may set cookies. */
export async function clearQuotaAuth(): Promise<void> {
  const { cookies } = await import("next/headers.js");
  (await cookies()).delete({ name: EXTERNAL_USER_ID, path: nextBasePath() || "/" });
}

/** Makes Next render for each request. Next does not see the app's own session, so it could otherwise prerender one user's wallet for all. */
async function waitForRequest(): Promise<void> {
  const { connection } = await import("next/server.js");
  try {
    await connection();
  } catch (error) {
    // Scripts and jobs have no request, and nothing to prerender.
    if (!(error instanceof Error && error.message.includes("outside a request scope"))) throw error;
  }
}

async function namedUserId(options: QuotaUserOptions): Promise<string | null> {
  // A given but undefined id means that the user is signed out; the cookie of an earlier user must not count then.
  if ("externalUserId" in options) return options.externalUserId || null;
  const { cookies } = await import("next/headers.js");
  return open(signerOf(options), EXTERNAL_USER_ID, (await cookies()).get(EXTERNAL_USER_ID)?.value);
}
