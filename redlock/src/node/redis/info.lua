-- Tells what server this is and what time it has; one call, so that both are of one moment.
-- Keys and arguments: none.
-- Answers INFO's text, seconds and microseconds; nothing where the user may not ask.
function ops.info()
  local info = redis.pcall('INFO')
  local time = redis.pcall('TIME')
  if type(info) ~= 'string' or time.err then
    return false
  end
  return { info, time[1], time[2] }
end
