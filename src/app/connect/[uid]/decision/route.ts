import { currentUser } from "#server/auth.ts";
import { decide } from "#server/connect/consent.ts";
import { isOwnForm, seeOther } from "#server/http/own-form.ts";
import { allModels } from "#server/pricing/models.ts";
import { creditsOf } from "#ui/amounts.ts";

export const dynamic = "force-dynamic";

/** What the consent page's form sends: Allow or Cancel. */
export async function POST(request: Request, { params }: { params: Promise<{ uid: string }> }): Promise<Response> {
  const { uid } = await params;
  const page = `/connect/${encodeURIComponent(uid)}`;
  if (!isOwnForm(request)) return seeOther(`${page}?again=1`);
  const user = await currentUser();
  if (user === null) return seeOther(`/sign-in?callbackUrl=${encodeURIComponent(page)}`);
  const form = await request.formData().catch(() => new FormData());
  const asked = {
    uid,
    cookieHeader: request.headers.get("cookie") ?? "",
    person: { userId: user.id, signedInAt: user.signedInAt },
    token: String(form.get("token") ?? ""),
  };

  if (form.get("decision") !== "allow") return follow(await decide(asked, { kind: "deny" }), page);

  const ticked = form.getAll("model").map(String);
  const typed = String(form.get("limit") ?? "");
  const monthlyLimit = form.get("limited") === "no" ? null : creditsOf(typed);
  if (form.get("limited") !== "no" && (monthlyLimit === null || monthlyLimit === 0n))
    return seeOther(`${page}?${new URLSearchParams([["limit", typed.slice(0, 20)], ...ticked.slice(0, 100).map((id) => ["model", id])])}`);
  const models = allModels();
  const allowedModels = ticked.filter((id) => models.has(id));
  // None means any, which is not what somebody said who ticked models that are gone by now.
  if (ticked.length > 0 && allowedModels.length === 0) return seeOther(`${page}?again=1`);
  return follow(await decide(asked, { kind: "allow", monthlyLimit, allowedModels }), page);
}

function follow(outcome: Awaited<ReturnType<typeof decide>>, page: string): Response {
  if (outcome.kind === "goTo") return seeOther(outcome.url);
  // The page sends them to sign in.
  return seeOther(outcome.kind === "again" ? `${page}?again=1` : page);
}
