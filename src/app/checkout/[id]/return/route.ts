import { publicUrl } from "#env";
import { returnFrom } from "#server/payments/checkout.ts";

export const dynamic = "force-dynamic";

/**
 * Where Stripe sends people back to. Nobody has to be signed in here: it looks the
 * checkout up and sends them on to the address that was checked when it was opened.
 */
export async function GET(request: Request, { params }: { params: Promise<{ id: string }> }): Promise<Response> {
  const { id } = await params;
  const cancelled = new URL(request.url).searchParams.has("cancelled");
  const location = (await returnFrom(id, cancelled)) ?? `${publicUrl()}/wallet`;
  return new Response(null, { status: 303, headers: { location, "cache-control": "no-store" } });
}
