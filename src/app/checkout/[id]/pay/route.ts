import { publicUrl } from "#env";
import { currentUser } from "#server/auth.ts";
import { answerSandbox } from "#server/payments/sandbox.ts";

export const dynamic = "force-dynamic";

/** What the sandbox checkout's form sends: pay or cancel. */
export async function POST(request: Request, { params }: { params: Promise<{ id: string }> }): Promise<Response> {
  const { id } = await params;
  const page = `/checkout/${encodeURIComponent(id)}`;
  if (!isOwnForm(request)) return goTo(page);
  const user = await currentUser();
  if (user === null) return goTo(`/sign-in?callbackUrl=${encodeURIComponent(page)}`);
  const form = await request.formData().catch(() => new FormData());
  const pay = form.get("answer") === "pay";
  return goTo((await answerSandbox({ id, userId: user.id, token: String(form.get("token") ?? ""), pay })) ?? page);
}

/** RFC 9110 §15.4.4: 303, so that the form is not sent on. */
function goTo(location: string): Response {
  return new Response(null, { status: 303, headers: { location, "cache-control": "no-store" } });
}

/** A second guard beside the form's token. The page sends no referrer, so its form names no origin. */
function isOwnForm(request: Request): boolean {
  const site = request.headers.get("sec-fetch-site");
  const origin = request.headers.get("origin");
  if (site !== null && site !== "same-origin") return false;
  return origin === null || origin === "null" || origin === new URL(publicUrl()).origin;
}
