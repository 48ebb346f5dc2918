import { findLinkedUser, linkLimit } from "#server/connect/linked-users.ts";
import { endpoint, preflight } from "#server/http/endpoint.ts";
import { visibleLinkedUser } from "#server/http/linked-users-view.ts";
import { balance } from "#server/http/shapes.ts";
import { balanceOf } from "#server/ledger/accounts.ts";
import { database } from "#server/platform/db.ts";
import { noLinkedUser } from "#server/platform/errors.ts";

export const dynamic = "force-dynamic";

export const GET = endpoint(
  {
    method: "GET",
    path: "/v1/balance",
    summary: "Read a balance",
    description: "The balance that a request with the same headers would be billed to. An access token needs the scope credits.read.",
    forUser: true,
    tokenScope: "credits.read",
    response: balance,
    errors: ["bad_request", "invalid_api_key", "not_found", "rate_limit_exceeded", "internal_error"],
  },
  async ({ caller, externalUserId }) => {
    const db = await database();
    if (caller.billingMode === "test") {
      if (externalUserId !== null) await visibleLinkedUser(caller, externalUserId);
      const empty = externalUserId === "sandbox_empty";
      const wallet = await balanceOf(db.sql, caller.sandboxWalletId);
      return {
        wallet: "sandbox",
        ...(externalUserId === null ? {} : { external_user_id: externalUserId }),
        ...(empty ? { balance: 0, available: 0, held: 0 } : wallet),
        billing_mode: "test",
      };
    }
    if (externalUserId === null)
      return { wallet: "developer", ...(await balanceOf(db.sql, caller.ownerWalletId)), billing_mode: caller.billingMode };
    const linked = await findLinkedUser(db, caller.appId, externalUserId);
    if (linked === null) throw noLinkedUser();
    return {
      wallet: "linked_user",
      external_user_id: externalUserId,
      ...(await balanceOf(db.sql, linked.walletId)),
      billing_mode: "user",
      ...(linked.limit === undefined ? {} : { limit: linked.limit, spent: linked.spent }),
    };
  },
  async ({ caller }) => {
    const db = await database();
    const limit = caller.linkedUserId === null ? null : await linkLimit(db, caller.linkedUserId);
    return { wallet: "oauth_user", ...(await balanceOf(db.sql, caller.walletId)), billing_mode: "user", ...(limit ?? {}) };
  },
);

export const OPTIONS = preflight;
