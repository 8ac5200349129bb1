
board({
  cards: new Cards($("#servers")),
  feed: new Feed($("#feed"), () => true, 20),
  url: `${here}events`,
  more({ process }) {
    $("#process").textContent = `· told by process ${process.id} on ${process.host}`;
  },
});
