import { fundLinkedUser } from "#server/connect/funding.ts";
import { endpoint, preflight, toJson } from "#server/http/endpoint.ts";
import { visibleLinkedUser } from "#server/http/linked-users-view.ts";
import { funding, fundingRequest } from "#server/http/shapes.ts";
import { transaction } from "#server/platform/db.ts";

export const dynamic = "force-dynamic";

export const POST = endpoint(
  {
    method: "POST",
    path: "/v1/funding/credit",
    summary: "Give credits to a linked user",
    description: "Moves credits from the developer's own wallet to the linked user's.",
    body: fundingRequest,
    idempotency: "required",
    response: funding,
    errors: [
      "bad_request",
      "invalid_api_key",
      "insufficient_credits",
      "not_found",
      "idempotency_conflict",
      "request_too_large",
      "rate_limit_exceeded",
      "internal_error",
    ],
  },
  async ({ id, caller, body, idempotency }) => {
    if (caller.billingMode === "test") {
      // Nothing is transferred, because all users of a sandbox share one wallet.
      const { user } = await visibleLinkedUser(caller, body.external_user_id);
      return {
        success: true,
        external_user_id: body.external_user_id,
        amount: body.amount,
        balance_after: user.balance,
        transaction_id: id,
      };
    }
    return transaction(async (tx) => {
      const { balanceAfter } = await fundLinkedUser(tx, {
        id,
        appId: caller.appId,
        fromWalletId: caller.ownerWalletId,
        externalUserId: body.external_user_id,
        amount: BigInt(body.amount),
        description: body.description,
      });
      const answer = {
        success: true,
        external_user_id: body.external_user_id,
        amount: body.amount,
        balance_after: balanceAfter,
        transaction_id: id,
      };
      await idempotency?.remember(tx, {
        status: 200,
        headers: { "content-type": "application/json; charset=utf-8" },
        body: toJson(answer),
      });
      return answer;
    });
  },
);

export const OPTIONS = preflight;
