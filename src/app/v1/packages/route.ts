import { endpoint, preflight } from "#server/http/endpoint.ts";
import { packageList } from "#server/http/shapes.ts";
import { packages } from "#server/payments/packages.ts";

export const dynamic = "force-dynamic";

export const GET = endpoint(
  {
    method: "GET",
    path: "/v1/packages",
    summary: "List credit packages",
    description: "What can be added to a wallet at once, and what it costs.",
    public: true,
    response: packageList,
    errors: ["internal_error"],
  },
  async () => ({ data: packages().map(({ id, cents, credits }) => ({ id, credits, price_cents: cents, currency: "usd" })) }),
);

export const OPTIONS = preflight;
