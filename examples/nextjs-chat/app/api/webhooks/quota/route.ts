import { constructEvent, WebhookVerificationError } from "@usequota/core";
import { keep } from "../../../../lib/news.ts";

/** Receives Quota's webhooks: verifies the signature over the raw body, then stores the event. */
export async function POST(request: Request): Promise<Response> {
  try {
    keep(await constructEvent(await request.text(), request.headers, process.env.QUOTA_WEBHOOK_SECRET ?? ""));
    return new Response(null, { status: 204 });
  } catch (error) {
    if (!(error instanceof WebhookVerificationError)) throw error;
    return Response.json({ error: error.message }, { status: 400 });
  }
}
