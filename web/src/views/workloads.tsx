export function WorkloadsView() { return <p />; }
