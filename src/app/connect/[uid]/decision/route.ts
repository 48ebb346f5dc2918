import { publicUrl } from "#env";
import { currentUser } from "#server/auth.ts";
import { decide } from "#server/connect/consent.ts";
import { allModels } from "#server/pricing/models.ts";
import { creditsOf } from "#ui/amounts.ts";

export const dynamic = "force-dynamic";

/** What the consent page's form sends: Allow or Cancel. */
export async function POST(request: Request, { params }: { params: Promise<{ uid: string }> }): Promise<Response> {
  const { uid } = await params;
  const page = `/connect/${encodeURIComponent(uid)}`;
  if (!isOwnForm(request)) return goTo(`${page}?again=1`);
  const user = await currentUser();
  if (user === null) return goTo(`/sign-in?callbackUrl=${encodeURIComponent(page)}`);
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
    return goTo(`${page}?${new URLSearchParams([["limit", typed.slice(0, 20)], ...ticked.slice(0, 100).map((id) => ["model", id])])}`);
  const models = allModels();
  const allowedModels = ticked.filter((id) => models.has(id));
  // None means any, which is not what somebody said who ticked models that are gone by now.
  if (ticked.length > 0 && allowedModels.length === 0) return goTo(`${page}?again=1`);
  return follow(await decide(asked, { kind: "allow", monthlyLimit, allowedModels }), page);
}

function follow(outcome: Awaited<ReturnType<typeof decide>>, page: string): Response {
  if (outcome.kind === "goTo") return goTo(outcome.url);
  // The page sends them to sign in.
  return goTo(outcome.kind === "again" ? `${page}?again=1` : page);
}

/** RFC 9700 §4.12: 303, or a browser could send the form on. */
function goTo(location: string): Response {
  return new Response(null, { status: 303, headers: { location, "cache-control": "no-store" } });
}

/**
 * A second guard beside the form's token. The page sends no referrer, and then
 * browsers name no origin for a form either, so `null` says nothing.
 */
function isOwnForm(request: Request): boolean {
  const site = request.headers.get("sec-fetch-site");
  const origin = request.headers.get("origin");
  if (site !== null && site !== "same-origin") return false;
  return origin === null || origin === "null" || origin === new URL(publicUrl()).origin;
}
