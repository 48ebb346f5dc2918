import { publicUrl } from "#env";
import { returnFrom } from "#server/payments/checkout.ts";

export const dynamic = "force-dynamic";

/**
 * The return address of Stripe's checkout. Needs no session: it looks the checkout up and
 * redirects to the address that was checked when the checkout was opened.
 */
export async function GET(request: Request, { params }: { params: Promise<{ id: string }> }): Promise<Response> {
  const { id } = await params;
  const cancelled = new URL(request.url).searchParams.has("cancelled");
  const location = (await returnFrom(id, cancelled)) ?? `${publicUrl()}/wallet`;
  return new Response(null, { status: 303, headers: { location, "cache-control": "no-store" } });
}
