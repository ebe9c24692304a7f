export function LiveView() { return <p />; }
