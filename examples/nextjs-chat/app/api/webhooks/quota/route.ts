import { constructEvent, WebhookVerificationError } from "@usequota/core";
import { keep } from "../../../../lib/news.ts";

/** Takes Quota's webhooks: checks the signature over the raw body, then believes it. */
export async function POST(request: Request): Promise<Response> {
  try {
    keep(await constructEvent(await request.text(), request.headers, process.env.QUOTA_WEBHOOK_SECRET ?? ""));
    return new Response(null, { status: 204 });
  } catch (error) {
    if (!(error instanceof WebhookVerificationError)) throw error;
    return Response.json({ error: error.message }, { status: 400 });
  }
}
