import { randomUUID } from "node:crypto";
import type { KoaContextWithOIDC } from "oidc-provider";
import type { Tx } from "../platform/db.ts";
import { bindGrant, endGrant, takeDecision } from "./grants.ts";
import { isExternalUserId, link, linkByToken, mayLinkAs } from "./linked-users.ts";
import { errors } from "./oidc.ts";
import { knownScopes } from "./scopes.ts";

/**
 * What a successful token request does beyond issuing tokens, in its transaction: when
 * the app redeems a code, makes the link with the user's decision. With
 * `storage_mode=hosted` the app gets its own id for the user instead of tokens. Throws
 * an OAuth error, which rolls the transaction back, so that the code stays valid.
 */
export async function redeem(tx: Tx, ctx: KoaContextWithOIDC): Promise<void> {
  const form = ctx.oidc.body ?? {};
  const storageMode = single(form, "storage_mode");
  const externalUserId = single(form, "external_user_id");
  if (storageMode !== undefined && storageMode !== "hosted") throw new errors.InvalidRequest("unknown storage_mode");
  if (form.grant_type !== "authorization_code") {
    if (storageMode !== undefined) throw new errors.InvalidRequest("storage_mode belongs to the exchange of an authorization code");
    return;
  }
  const { Client: client, Grant: grant, AuthorizationCode: code } = ctx.oidc.entities;
  if (client === undefined || grant === undefined || code === undefined)
    throw new Error("a code was redeemed without client, grant or code");
  const decision = await takeDecision(tx, grant.jti);
  if (decision === null) throw new errors.InvalidGrant("the person's consent is gone");
  const scopes = knownScopes(code.scope);
  const agreement = {
    appId: decision.appId,
    userId: decision.userId,
    scope: scopes.join(" "),
    monthlyLimit: decision.monthlyLimit === null ? null : BigInt(decision.monthlyLimit),
    allowedModels: decision.allowedModels,
    agreedMarkupBps: decision.agreedMarkupBps,
  };
  if (storageMode === undefined) {
    if (externalUserId !== undefined) throw new errors.InvalidRequest("external_user_id goes with storage_mode=hosted");
    // A sign-in without a scope of credits makes no link, so the app is not among the user's connected apps.
    if (scopes.includes("credits.read") || scopes.includes("credits.spend"))
      await bindGrant(tx, grant.jti, (await linkByToken(tx, `oauth_${randomUUID()}`, agreement)).id);
    return;
  }
  if (client.clientAuthMethod === "none") throw new errors.UnauthorizedClient("storage_mode=hosted is for confidential clients");
  if (externalUserId !== undefined && !isExternalUserId(externalUserId)) {
    throw new errors.InvalidRequest("external_user_id must be 1 to 255 printable characters, without white space around them");
  }
  if (externalUserId !== undefined && !(await mayLinkAs(tx, agreement.appId, externalUserId))) {
    throw new errors.InvalidRequest(
      "external_user_id must be printable characters: it has one that is invisible or turns the writing direction, such as U+200B or U+202E",
    );
  }
  if (!scopes.includes("credits.read") || !scopes.includes("credits.spend")) {
    throw new errors.InvalidScope("storage_mode=hosted needs credits.read and credits.spend", agreement.scope);
  }
  // The app's API key acts for a link under the app's own id, so the grant is not needed.
  await endGrant(tx, grant.jti);
  const linked = await link(tx, externalUserId ?? `user_${randomUUID()}`, agreement);
  ctx.body = {
    storage_mode: "hosted",
    external_user_id: linked.externalUserId,
    scope: agreement.scope,
    user: linked.user,
    linked_at: linked.linkedAt.toISOString(),
  };
}

/** RFC 6749 §3.2: a parameter must not be repeated, and one without a value counts as absent. */
function single(form: Record<string, unknown>, name: string): string | undefined {
  const value = form[name];
  if (value === undefined || value === "") return undefined;
  if (typeof value !== "string") throw new errors.InvalidRequest(`${name} must not be provided twice`);
  return value;
}
