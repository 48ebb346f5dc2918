import { getQuotaUser, QuotaProvider } from "@usequota/nextjs";
import { getSession } from "../lib/session.ts";
import { leave } from "./actions.ts";
import { Chat } from "./chat.tsx";
import { SignIn } from "./sign-in.tsx";
import { Wallet } from "./wallet.tsx";

export default async function Page() {
  const session = await getSession();
  if (session === null) return <SignIn />;
  // When Quota cannot be reached, the page still renders, and its components read the wallet again.
  const user = await getQuotaUser({ externalUserId: session.userId }).catch(() => undefined);
  return (
    <QuotaProvider {...(user === undefined ? {} : { initialUser: user })}>
      <div className="frame">
        <header className="top">
          <span className="brand">
            <Logo /> Acme Chat
          </span>
          <Wallet />
          <form action={leave} className="who">
            <span className="who-name">{session.name}</span>
            <button type="submit" className="plain">
              Sign out
            </button>
          </form>
        </header>
        <Chat userId={session.userId} />
      </div>
    </QuotaProvider>
  );
}

function Logo() {
  return (
    <svg viewBox="0 0 32 32" width="28" height="28" aria-hidden="true">
      <rect width="32" height="32" rx="9" className="logo-tile" />
      <path
        d="M9 11.5A2.5 2.5 0 0 1 11.5 9h9a2.5 2.5 0 0 1 2.5 2.5v6a2.5 2.5 0 0 1-2.5 2.5H15l-4 3.5V20a2.5 2.5 0 0 1-2-2.5z"
        fill="#fff"
      />
    </svg>
  );
}
