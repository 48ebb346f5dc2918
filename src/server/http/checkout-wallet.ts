import type { Caller } from "../apps/api-keys.ts";
import type { TokenCaller } from "../connect/access-tokens.ts";
import { findLinkedUser } from "../connect/linked-users.ts";
import type { CheckoutRequest } from "../payments/checkout.ts";
import { database } from "../platform/db.ts";
import { AppError, noLinkedUser } from "../platform/errors.ts";

type Target = Pick<CheckoutRequest, "owner"> & { app: NonNullable<CheckoutRequest["app"]> };

/**
 * The wallet that a checkout fills: the one that a completion with the same credential and header is billed to. Throws
 * `bad_request` for a `test` key, `user_required` when a `user` key names no user, and `not_found` for an unknown user.
 */
export async function walletOfKey(caller: Caller, externalUserId: string | null): Promise<Target> {
  if (caller.billingMode === "test") {
    throw new AppError("bad_request", {
      param: "X-Quota-User",
      message: "A sandbox wallet refills itself and cannot be topped up. Use a key in billing mode `developer` or `user`.",
    });
  }
  const db = await database();
  const app = { ...(await appOf(caller.appId)), externalUserId };
  if (externalUserId === null) {
    if (caller.billingMode === "user") throw new AppError("user_required");
    return { owner: { userId: caller.ownerId, walletId: caller.ownerWalletId }, app };
  }
  const linked = await findLinkedUser(db, caller.appId, externalUserId);
  if (linked === null) throw noLinkedUser();
  return { owner: { userId: linked.user.id, walletId: linked.walletId }, app };
}

/** The wallet that a checkout with a user's access token fills. */
export async function walletOfToken({ userId, walletId, appId }: TokenCaller): Promise<Target> {
  return { owner: { userId, walletId }, app: { ...(await appOf(appId)), externalUserId: null } };
}

async function appOf(id: string) {
  return (await database()).prisma.app.findUniqueOrThrow({ where: { id }, select: { id: true, redirectUris: true, siteUrl: true } });
}
