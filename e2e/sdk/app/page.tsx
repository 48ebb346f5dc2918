import { getQuotaUser } from "@usequota/nextjs";

/** A minimal page that shows the id in the signed cookie. */
export default async function Page() {
  const user = await getQuotaUser();
  return <p>{user === null ? "nobody" : `${user.email} has ${user.balance}`}</p>;
}
