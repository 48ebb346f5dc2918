import { walletOfKey, walletOfToken } from "#server/http/checkout-wallet.ts";
import { endpoint, preflight } from "#server/http/endpoint.ts";
import { checkout, checkoutRequest } from "#server/http/shapes.ts";
import { openCheckout } from "#server/payments/checkout.ts";

export const dynamic = "force-dynamic";

export const POST = endpoint(
  {
    method: "POST",
    path: "/v1/checkout",
    summary: "Open a checkout",
    description:
      "Where a person adds credits to a wallet: the linked user's with X-Quota-User, the developer's own without, an access token's person's (scope credits.spend). The wallet is the one that a completion with the same headers would be billed to.",
    body: checkoutRequest,
    idempotency: "optional",
    forUser: true,
    tokenScope: "credits.spend",
    response: checkout,
    errors: [
      "bad_request",
      "user_required",
      "invalid_api_key",
      "not_found",
      "idempotency_conflict",
      "request_too_large",
      "rate_limit_exceeded",
      "internal_error",
      "payments_unavailable",
    ],
  },
  async ({ caller, externalUserId, body }) => {
    const { owner, app } = await walletOfKey(caller, externalUserId);
    return openCheckout({ owner, app, packageId: body.package_id, returnUrl: body.return_url });
  },
  async ({ caller, body }) => {
    const { owner, app } = await walletOfToken(caller);
    return openCheckout({ owner, app, packageId: body.package_id, returnUrl: body.return_url });
  },
);

export const OPTIONS = preflight;
