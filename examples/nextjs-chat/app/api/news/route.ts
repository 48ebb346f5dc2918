import { newsAbout } from "../../../lib/news.ts";
import { getSession } from "../../../lib/session.ts";

/** What Quota told this app about the person who asks. */
export async function GET(): Promise<Response> {
  const session = await getSession();
  if (session === null) return Response.json({ error: "sign in first" }, { status: 401 });
  return Response.json({ events: newsAbout(session.userId).slice(0, 20) });
}
