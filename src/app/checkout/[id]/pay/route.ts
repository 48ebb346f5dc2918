import { isOwnForm, seeOther } from "#server/http/own-form.ts";
import { answerSandbox } from "#server/payments/sandbox.ts";
import { currentUser } from "#server/people/auth.ts";

export const dynamic = "force-dynamic";

/** Receives the sandbox checkout's form: pay or cancel. */
export async function POST(request: Request, { params }: { params: Promise<{ id: string }> }): Promise<Response> {
  const { id } = await params;
  const page = `/checkout/${encodeURIComponent(id)}`;
  if (!isOwnForm(request)) return seeOther(page);
  const user = await currentUser();
  if (user === null) return seeOther(`/sign-in?callbackUrl=${encodeURIComponent(page)}`);
  const form = await request.formData().catch(() => new FormData());
  const pay = form.get("answer") === "pay";
  return seeOther((await answerSandbox({ id, userId: user.id, token: String(form.get("token") ?? ""), pay })) ?? page);
}
